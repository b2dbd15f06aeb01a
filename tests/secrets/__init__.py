"""The API key, named secrets and access tokens are seen nowhere, whatever a service, an agent or a fault does."""
