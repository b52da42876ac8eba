-- Schemas, and who may do nothing at all. Everything is refused first; 0012_privileges.sql grants
-- what each role needs. The roles themselves come from docker/postgres/bootstrap.sql, because a
-- role belongs to the server and not to this database.

do $$
declare
    v_role text;
begin
    if current_user <> 'restaurant_owner' then
        raise exception 'the restaurant migrations run as restaurant_owner, not as %', current_user
            using hint = 'connect as restaurant_owner, so that it owns what is made here';
    end if;
    foreach v_role in array array['restaurant_user', 'analytics_reader'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
            raise exception 'role % does not exist', v_role
                using hint = 'run docker/postgres/bootstrap.sql first';
        end if;
    end loop;
    if to_regclass('sse_stream.offsets') is null then
        raise exception 'table sse_stream.offsets does not exist'
            using hint = 'the migration runner applies the engine''s own migrations first';
    end if;
    -- The name of the database is the installer's choice.
    execute format('revoke all on database %I from public', current_database());
end
$$;

revoke all on schema public from public;

-- Functions are executable by everybody unless this is taken away from those still to come.
alter default privileges revoke execute on functions from public;

create schema raw_data;
comment on schema raw_data is 'every event as it came, for some days';

create schema analytics;
comment on schema analytics is 'facts, their audit, and the views and functions over them';

-- The engine does not use it: its replay-safe path works in temporary tables. It is room for
-- tables that processors of the user's own fill and empty.
create schema staging;
comment on schema staging is 'working tables of the user; not readable by analytics_reader';
