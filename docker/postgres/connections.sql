-- In Airflow's database: the names of its connections and Variables.
select conn_id from connection
union all
select key from variable;
