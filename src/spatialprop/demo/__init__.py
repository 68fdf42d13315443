"""The page on which masks are painted, refined and explained: behind a server of its own, or as a static folder."""

from spatialprop.demo.server import make_app, serve

__all__ = ["make_app", "serve"]
