-- Extensions and what only a superuser can take away, connected to restaurant_analytics as a superuser. Only those the server offers: some
-- builds come without contrib, and nothing in the schema depends on one.
--
-- pg_trgm serves searches for parts of item names. pg_stat_statements is made only where the server
-- preloads it: without that its view is an error. uuid-ossp is not needed, identifiers come from
-- the source.

do $$
begin
    if exists (select from pg_catalog.pg_available_extensions where name = 'pg_trgm') then
        create extension if not exists pg_trgm;
    end if;
    if exists (select from pg_catalog.pg_available_extensions where name = 'pg_stat_statements')
        and current_setting('shared_preload_libraries') like '%pg_stat_statements%' then
        create extension if not exists pg_stat_statements;
    end if;
end
$$;

-- Otherwise a role that may only read could fill the disk with large objects.
revoke execute on function lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) from public;
