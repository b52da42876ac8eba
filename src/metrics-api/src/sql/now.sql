-- The newest full second, by the clock of the server that holds the data.
select date_trunc('second', clock_timestamp())
