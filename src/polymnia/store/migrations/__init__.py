"""The one chain of migrations for every table in the database, the server's included."""
