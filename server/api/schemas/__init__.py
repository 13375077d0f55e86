"""Requests and responses of the HTTP API, one file a resource."""
