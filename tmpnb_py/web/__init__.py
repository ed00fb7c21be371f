"""The service's own pages and API, behind the proxy. No handler here calls an engine.

A handler reads its visitor (`visitor`), lets `allocation` decide whether there is a notebook for them, and answers
with a page (`respond`, `messages`), JSON (`api/schema`, `api/views`) or a stream (`event_stream`). `context` holds
the services that handlers use; `application` puts the two aiohttp applications together.
"""
