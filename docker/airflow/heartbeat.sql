-- For psql, in Airflow's database: does the job of this type on this host give signs of life?
select exists (
    select
    from job
    where job_type = :'type'
        and hostname = :'host'
        and state = 'running'
        -- Airflow writes its times as UTC.
        and latest_heartbeat > now() - interval '60 seconds'
);
