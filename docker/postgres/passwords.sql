-- For psql: hand the passwords of the environment to bootstrap.sql. Superuser.
\getenv restaurant_owner RESTAURANT_OWNER_PASSWORD
\getenv restaurant_user RESTAURANT_DB_PASSWORD
\getenv analytics_reader ANALYTICS_READONLY_PASSWORD
\getenv airflow_user AIRFLOW_DB_PASSWORD
select
    set_config('bootstrap.restaurant_owner_password', :'restaurant_owner', false),
    set_config('bootstrap.restaurant_user_password', :'restaurant_user', false),
    set_config('bootstrap.analytics_reader_password', :'analytics_reader', false),
    set_config('bootstrap.airflow_user_password', :'airflow_user', false);
