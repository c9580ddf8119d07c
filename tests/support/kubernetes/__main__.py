"""`python -m tests.support.kubernetes`: serve until interrupted, for kubectl and curl by hand."""

import asyncio

from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer


async def main() -> None:
    async with KubernetesServer() as cluster:
        print(f"{cluster.url} with the token {ADMIN_TOKEN!r}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
