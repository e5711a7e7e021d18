"""A server of the Model Context Protocol, of its own SDK, that knows nothing of tokens: mcp_server.py PORT

At /mcp on 127.0.0.1 it has the tool whoami, which tells who the gate says is asking. It answers no commands; it ends as
conversation.py says.
"""

import socket
import sys
import threading

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

from conversation import hold

server = MCPServer("the application")


@server.tool()
def whoami(context: Context) -> str:
    return context.headers.get("X-User", "nobody")


port = int(sys.argv[1])
listener = socket.create_server(("127.0.0.1", port))
application = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="warning"))
threading.Thread(target=application.run, kwargs={"sockets": [listener]}, daemon=True).start()
hold({"url": f"http://127.0.0.1:{port}/mcp"}, {})
