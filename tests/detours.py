"""Ways over TCP that fall silent without closing, as half-open connections do."""

import asyncio
import contextlib

_TRICKLE_SECONDS = 0.02


class Detour:
    """Forwards connections to a port of this machine, until told otherwise.

    With ``most`` only so many bytes of each connection reach the port; the rest never does.
    """

    def __init__(self, port, most=None):
        self._target = port
        self._most = most
        self._is_flowing = True
        self._trickles = False
        self._lines = []
        self._tasks = set()
        self.connected = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *failure):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self):
        """Let nothing pass, either way, not even an end; new connections are taken all the same."""
        self._is_flowing = False
        for line in self._lines:
            line.clear()

    def trickle(self):
        """Let things pass a byte at a time."""
        self._trickles = True

    def release(self):
        """Let everything pass again, first of all what was held."""
        self._is_flowing, self._trickles = True, False
        for line in self._lines:
            line.set()

    def forget(self):
        """Let nothing ever pass again on the connections there are; new ones are as good as any."""
        self.hold()
        self._lines = []
        self.release()

    async def _connected(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        line = asyncio.Event()
        self._lines.append(line)
        self.connected.set()
        if self._is_flowing:
            line.set()
        try:
            await line.wait()
            answers, onward = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(
                self._pump(line, reader, onward, self._most), self._pump(line, answers, writer, None)
            )
        except (OSError, asyncio.CancelledError):
            writer.close()
        finally:
            self._tasks.discard(task)

    async def _pump(self, line, reader, writer, most):
        with contextlib.closing(writer):
            while chunk := await reader.read(1 << 16):
                chunk = chunk[:most]
                await self._pass(line, chunk, writer)
                if most is not None and not (most := most - len(chunk)):
                    await asyncio.Event().wait()
            await line.wait()

    async def _pass(self, line, chunk, writer):
        while chunk:
            await line.wait()
            piece = 1 if self._trickles else len(chunk)
            writer.write(chunk[:piece])
            await writer.drain()
            chunk = chunk[piece:]
            if self._trickles:
                await asyncio.sleep(_TRICKLE_SECONDS)
