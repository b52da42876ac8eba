-- In Airflow's database: is the DAG paused, then its last runs, newest first.
select 'paused' || '|' || is_paused::text from dag where dag_id = :'dag';
select run_id || '|' || state
from dag_run
where dag_id = :'dag'
order by coalesce(start_date, queued_at) desc nulls first
limit 10;
