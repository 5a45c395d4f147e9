"""What the code of plugins may raise."""

import asyncio

# No fault of the code that raised it: somebody ends a task, a program or a coroutine. All else is, also what ends programs, as
# SystemExit does: no plugin may end one.
PASSING = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)
