"""A TCP proxy in front of a port of this machine that delays each direction: the server seems to be far away.

bench_delay.py PORT MILLISECONDS; prints its own port. The bandwidth is not limited.
"""
import asyncio, sys

# Chunks on their way in one direction; more of them wait in the sender.
ON_THE_WAY = 1024


async def one_way(reader, writer, delay):
    """Every chunk arrives `delay` seconds after it was sent, and so does the end."""
    clock = asyncio.get_running_loop().time
    chunks = asyncio.Queue(ON_THE_WAY)

    async def receive():
        data = b"first"
        while data:
            data = await reader.read(1 << 16)
            await chunks.put((clock() + delay, data))

    async def deliver():
        while True:
            due, data = await chunks.get()
            await asyncio.sleep(max(0, due - clock()))
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    await asyncio.gather(receive(), deliver())


async def relay(reader, writer, port, delay):
    ends = [writer]
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        ends.append(far_writer)
        await asyncio.gather(one_way(reader, far_writer, delay), one_way(far_reader, writer, delay))
    except OSError:
        pass  # One of the two has broken the connection: the other one sees that below.
    finally:
        for end in ends:
            end.close()


async def main():
    port, delay = int(sys.argv[1]), float(sys.argv[2]) / 1000
    server = await asyncio.start_server(lambda reader, writer: relay(reader, writer, port, delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
