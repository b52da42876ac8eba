-- What the server runs with, to be compared with what it was given.
select 'max_connections', current_setting('max_connections')
union all select 'shared_buffers', pg_size_bytes(current_setting('shared_buffers'))::text
union all select 'effective_cache_size', pg_size_bytes(current_setting('effective_cache_size'))::text
union all select 'preloaded', current_setting('shared_preload_libraries')
union all select 'statements', (
    select count(*) from pg_extension where extname = 'pg_stat_statements')::text;
