-- How many dead letters of the stream $1 are open, by reason.
select reason_code, count(*) as open
from sse_stream.dead_letters
where state = 'open' and (stream = $1 or starts_with(stream, $1 || '/') or starts_with(stream, $1 || '@'))
group by 1
order by 2 desc, 1
