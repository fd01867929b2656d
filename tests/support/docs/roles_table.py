"""The table of roles in docs/admin-access.md, from authz/core/roles.py."""

from authz.core.roles import ALLOWED, UNBOUND, Action, Role


def roles() -> str:
    """Return one row for each action, and one column for each role."""
    header = ["action", *(role.value for role in Role)]
    rows = [[action.value, *(_cell(role, action) for role in Role)] for action in Action]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(role: Role, action: Action) -> str:
    if action not in ALLOWED[role]:
        return "-"
    return "unbound" if action in UNBOUND else "yes"
