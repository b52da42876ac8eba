-- Roles and databases of the stack that the server does not have, one name to a line.
select 'role ' || n.name
from (values ('restaurant_owner'), ('restaurant_user'), ('analytics_reader'), ('airflow_user'))
    n (name)
where not exists (select from pg_catalog.pg_roles r where r.rolname = n.name)
union all
select 'database ' || n.name
from (values ('restaurant_analytics'), ('airflow_db')) n (name)
where not exists (select from pg_catalog.pg_database d where d.datname = n.name)
order by 1;
