"""The assembled API: routers, middleware, problems."""
