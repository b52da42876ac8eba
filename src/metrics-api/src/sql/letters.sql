-- The newest open dead letters of the stream $1, of one reason where $2 names it, without their bytes.
select dead_letter_id, stream, event_offset, event_type, reason_code, reason, created_at, attempts
from sse_stream.dead_letters
where state = 'open' and (stream = $1 or starts_with(stream, $1 || '/') or starts_with(stream, $1 || '@'))
    and ($2::text is null or reason_code = $2)
order by dead_letter_id desc
limit $3
