"""A guard of e-mail addresses."""

import re

from server.plug_ins.guards import Refused

ADDRESS = re.compile(r"\b[\w.+-]+@[\w-]+\.\w+")


class NoAddresses:
    """Takes addresses out of questions and answers; refuses what asks for a password."""

    def check_question(self, text: str) -> str | None:
        if "password" in text.lower():
            raise Refused("nobody is told passwords")
        return ADDRESS.sub("(address)", text)

    async def check_answer(self, text: str) -> str | None:
        return ADDRESS.sub("(address)", text)
