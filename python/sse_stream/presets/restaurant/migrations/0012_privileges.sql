-- Who may do what; whatever is not granted here is refused. restaurant_owner owns all of it.
--
-- restaurant_user is the engine and its DAGs: it adds rows and completes orders, and changes or
-- deletes nothing else. Writing the audit, counting sales, making days and refreshing views are done
-- for it by functions of the owner.
--
-- analytics_reader reads the data, and the engine's books as far as they tell how fresh and how
-- complete the data is. Dead letters are included: their raw bytes are events of the same feed as
-- raw_data, not secrets.
--
-- airflow_user has nothing: it cannot even connect.

do $$
begin
    execute format(
        'grant connect, temporary on database %I to restaurant_user', current_database());
    execute format('grant connect on database %I to analytics_reader', current_database());
end
$$;

grant usage on schema raw_data, analytics, sse_stream, staging to restaurant_user;
grant usage on schema raw_data, analytics, sse_stream to analytics_reader;

grant select, insert on raw_data.events_raw to restaurant_user;
grant select on raw_data.events_raw_default to restaurant_user;
grant select, insert on analytics.orders, analytics.order_items, analytics.payments, analytics.feedback
    to restaurant_user;
grant update (subtotal, tax, tip, total) on analytics.orders to restaurant_user;
grant select on analytics.locations, analytics.hourly_sales, analytics.daily_sales,
    analytics.menu_performance, analytics.satisfaction_summary, analytics.sales_by_minute,
    analytics.sales_by_hour, analytics.sales_by_day, analytics.payments_by_minute,
    analytics.items_by_hour to restaurant_user;
grant select, insert, update on sse_stream.offsets, sse_stream.dead_letters, sse_stream.runs,
    sse_stream.epochs, sse_stream.gaps to restaurant_user;
-- What waited for its parent leaves when the parent comes.
grant select, insert, update, delete on sse_stream.waiting to restaurant_user;
-- A run with fewer writers than the one before removes what is left of the others.
grant delete on sse_stream.offsets to restaurant_user;
grant select on sse_stream.migrations, sse_stream.streams to restaurant_user;

grant select on all tables in schema raw_data, analytics, sse_stream to analytics_reader;

grant execute on function
    raw_data.ensure_partitions(integer, integer),
    raw_data.drop_old_partitions(integer),
    analytics.apply_retention(integer, integer, integer, integer, integer),
    sse_stream.prune(integer, integer),
    analytics.refresh_views()
    to restaurant_user;
grant execute on function
    analytics.get_latest_offset(text),
    analytics.calculate_order_metrics(uuid),
    analytics.validate_data_consistency(timestamptz),
    analytics.health_check(text, interval),
    analytics.nps_score(timestamptz, timestamptz),
    analytics.count_sales(timestamptz, timestamptz),
    analytics.count_payments(timestamptz, timestamptz),
    analytics.count_items(timestamptz, timestamptz),
    analytics.check_rollups(timestamptz, timestamptz)
    to restaurant_user, analytics_reader;

-- Tables that come later, a day's partition for example, are as readable as those of today; tables
-- in staging are the engine's to fill and empty.
alter default privileges in schema raw_data grant select on tables to analytics_reader;
alter default privileges in schema analytics grant select on tables to analytics_reader;
alter default privileges in schema staging
    grant select, insert, update, delete, truncate on tables to restaurant_user;
