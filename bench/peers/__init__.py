"""The peers, each as its own advocate would write it; they run outside Airflow's environment."""
