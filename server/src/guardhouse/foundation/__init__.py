"""What every feature stands on: database, transactions, jobs, objects, errors, pages, logs, metrics."""
