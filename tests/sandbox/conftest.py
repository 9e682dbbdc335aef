from fix_sandbox import (
    client,
    connect,
    demo_sandbox,
    full,
    full_sandbox,
    http,
    make_client,
    make_sandbox,
    sandbox,
)

__all__ = [
    "client",
    "connect",
    "demo_sandbox",
    "full",
    "full_sandbox",
    "http",
    "make_client",
    "make_sandbox",
    "sandbox",
]
