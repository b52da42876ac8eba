-- The statements that give each role the rights it has on the database restaurant_analytics.
select format('grant %s on database restaurant_analytics to %I;', lower(a.privilege_type), r.rolname)
from pg_catalog.pg_database d
cross join lateral aclexplode(d.datacl) a
join pg_catalog.pg_roles r on r.oid = a.grantee
where d.datname = 'restaurant_analytics'
order by 1;
