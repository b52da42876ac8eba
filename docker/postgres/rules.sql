-- The quality rules that do not hold, one line each.
select check_name || ': ' || failing || ' ' || details
from analytics.validate_data_consistency()
where status = 'FAILED';
