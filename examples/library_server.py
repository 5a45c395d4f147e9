"""An MCP server as anybody might write one: what a small library has on its shelves. mcp_agent.py starts it."""

from mcp.server.mcpserver import MCPServer

SHELVES = {
    "Dubliners": ("Joyce", 4),
    "Dune": ("Herbert", 3),
    "Emma": ("Austen", 1),
    "Persuasion": ("Austen", 2),
    "Ulysses": ("Joyce", 0),
}

server = MCPServer("library", log_level="ERROR")


@server.tool()
def copies(title: str) -> str:
    """How many copies of a book there are."""
    return f"{SHELVES[title][1]} copies" if title in SHELVES else f"There is no book {title}."


@server.tool()
def author(title: str) -> str:
    """Who wrote a book."""
    return SHELVES[title][0] if title in SHELVES else f"There is no book {title}."


if __name__ == "__main__":
    server.run()
