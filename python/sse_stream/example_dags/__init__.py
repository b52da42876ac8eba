"""DAGs to read and to copy; they are run by this package's tests, on Airflow 2.11 and 3."""
