-- The four roles. A role belongs to the server and not to a database, so no migration can make it.
--
-- How to use, as a superuser, with any client; running it again changes nothing else:
--   1. In one session: select set_config('bootstrap.<role>_password', '<password>', false)
--      for each role below, then this file. (psql can also get them from its environment:
--      PGOPTIONS="-c bootstrap.restaurant_user_password=... -c ...".)
--      A role that exists keeps its password where none is given; a new role must get one.
--   2. databases.sql: one select that returns the statements still needed to make both databases.
--      Run each of its rows, with autocommit: create database cannot run in a transaction.
--        psql:  psql -XAtq -f databases.sql | psql -X -v ON_ERROR_STOP=1
--        other: fetch all rows, execute one after another.
--   3. extensions.sql, connected to restaurant_analytics.
--   4. The migrations, as restaurant_owner.
--
--   restaurant_owner   owns restaurant_analytics and runs its migrations
--   restaurant_user    the engine and its DAGs: adds rows, no DDL
--   analytics_reader   reads
--   airflow_user       owns airflow_db, knows nothing of restaurant_analytics
--
-- Connection limits leave room under the server's default of 100.

do $$
declare
    v_role record;
    v_password text;
begin
    -- Never md5, whatever the server's default.
    perform set_config('password_encryption', 'scram-sha-256', true);

    for v_role in
        select * from (values
            ('restaurant_owner', 10),
            ('restaurant_user', 20),
            ('analytics_reader', 10),
            ('airflow_user', 55)
        ) r (name, connections)
    loop
        v_password := nullif(current_setting('bootstrap.' || v_role.name || '_password', true), '');
        if not exists (select from pg_catalog.pg_roles where rolname = v_role.name) then
            if v_password is null then
                raise exception 'role % has no password', v_role.name
                    using hint = format('first: select set_config(%L, ''<password>'', false)',
                        'bootstrap.' || v_role.name || '_password');
            end if;
            begin
                execute format('create role %I', v_role.name);
            exception when duplicate_object or unique_violation then
                -- Another session made it since we looked.
                null;
            end;
        end if;
        execute format(
            'alter role %I with login nosuperuser nocreatedb nocreaterole noreplication nobypassrls'
            ' connection limit %s',
            v_role.name, v_role.connections);
        if v_password is not null then
            execute format('alter role %I with password %L', v_role.name, v_password);
        end if;
        execute format('alter role %I set timezone to %L', v_role.name, 'UTC');
    end loop;

    -- A forgotten session of a reader must not hold back the daily retention.
    alter role analytics_reader set default_transaction_read_only to on;
    alter role analytics_reader set statement_timeout to '60s';
    alter role analytics_reader set idle_in_transaction_session_timeout to '60s';
end
$$;
