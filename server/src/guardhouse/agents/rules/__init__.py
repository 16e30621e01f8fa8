"""Rules of apps: changed here, compiled into documents by revision, fetched by in-app agents."""
