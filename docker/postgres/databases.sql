-- The statements still needed to make both databases; see bootstrap.sql for how to run them.
--
-- Sorting is byte by byte ("C"): indexes on text then survive a change of the system's collations,
-- which comes unannounced with a new base image. UTF-8 throughout.

select s.statement || ';'
from (values ('restaurant_analytics', 'restaurant_owner'), ('airflow_db', 'airflow_user'))
    d (name, owner)
cross join lateral (values
    (1, format(
        'create database %I owner %I template template0 encoding ''UTF8'' lc_collate ''C''',
        d.name, d.owner)),
    (2, format('alter database %I owner to %I', d.name, d.owner)),
    (3, format('alter database %I set timezone to ''UTC''', d.name)),
    (4, format('revoke all on database %I from public', d.name))
) s (position, statement)
where s.position > 1
    or not exists (select from pg_catalog.pg_database p where p.datname = d.name)
order by d.name, s.position;
