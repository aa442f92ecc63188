"""The transformation: dbt in process, its specs and its results; the SQL lives in dbt_project/."""
