-- The quality rules that do not hold, one line each, and the counted sales that are wrong.
select check_name || ': ' || failing || ' ' || details
from analytics.validate_data_consistency()
where status = 'FAILED'
union all
select object_name || ': ' || differing || ' rows are not what the facts say: make rollups'
from analytics.check_rollups(now() - interval '399 days')
where differing > 0;
