-- The sites, and codes that sold within a day without standing among them.
select l.location_code, l.name, l.city, l.latitude::float8, l.longitude::float8, l.time_zone
from analytics.locations l
union all
select s.location_code, null, null, null, null, null
from (
    select distinct location_code from analytics.sales_by_minute
    where minute >= now() - interval '1 day' and location_code <> ''
) s
where not exists (select from analytics.locations l where l.location_code = s.location_code)
order by 1
