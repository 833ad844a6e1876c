"""The JSON API under `/workflows/api/`: one table of routes, from which the handlers and the OpenAPI document come."""
