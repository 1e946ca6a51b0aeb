"""Take and show users' pictures."""

from flask import Blueprint, Response, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required

from legacy_flask.database import session
from legacy_flask.models import Avatar
from legacy_flask.validation import LARGEST_ID, InvalidInputError

blueprint = Blueprint("avatars", __name__)

LARGEST_BYTES = 1024 * 1024
# What a file is, its first bytes say; what the client calls it does not count.
SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


@blueprint.post("/avatars")
@login_required  # type: ignore[untyped-decorator]  # Flask-Login has no types
def create() -> ResponseReturnValue:
    """Store the picture in the form field ``file``."""
    upload = request.files.get("file")
    if upload is None:
        raise InvalidInputError("file is required")
    content = upload.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        return {"error": "The picture must have at most 1 MiB"}, 413
    kind = next((kind for signature, kind in SIGNATURES.items() if content.startswith(signature)), None)
    if kind is None:
        raise InvalidInputError("file must be a PNG, JPEG or GIF picture")
    avatar = Avatar(user_id=current_user.id, content_type=kind, content=content)
    session().add(avatar)
    session().commit()
    location = url_for("avatars.show", avatar_id=avatar.id)
    answer = {"id": avatar.id, "content_type": kind, "size": len(content), "url": location}
    return jsonify(answer), 201, {"Location": location}


@blueprint.get("/avatars/<int:avatar_id>")
def show(avatar_id: int) -> ResponseReturnValue:
    """Show a picture."""
    avatar = session().get(Avatar, avatar_id) if avatar_id <= LARGEST_ID else None
    if avatar is None:
        return {"error": "Not found"}, 404
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(avatar.content, mimetype=avatar.content_type, headers=headers)
