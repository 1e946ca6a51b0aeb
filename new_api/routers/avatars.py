"""Take and show users' pictures.

Pictures have moved to ``/media/avatars/…`` here; the migration table's ``new_path`` keeps the address
that clients know, ``/avatars/…``, and answers name that one.
"""

from fastapi import APIRouter, HTTPException, Response, UploadFile

from new_api.database import Session
from new_api.identity import CurrentUser
from new_api.models import Avatar
from new_api.schemas import AvatarOut, RowId

router = APIRouter(tags=["avatars"])

LARGEST_BYTES = 1024 * 1024
# What a file is, its first bytes say; what the client calls it does not count.
SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


@router.post("/avatars", status_code=201)
async def create(file: UploadFile, user: CurrentUser, session: Session, response: Response) -> AvatarOut:
    """Store the picture in the form field ``file``."""
    content = await file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise HTTPException(413, "The picture must have at most 1 MiB")
    kind = next((kind for signature, kind in SIGNATURES.items() if content.startswith(signature)), None)
    if kind is None:
        raise HTTPException(400, "file must be a PNG, JPEG or GIF picture")
    avatar = Avatar(user_id=user.id, content_type=kind, content=content)
    session.add(avatar)
    await session.commit()
    location = f"/avatars/{avatar.id}"
    response.headers["Location"] = location
    return AvatarOut(id=avatar.id, content_type=kind, size=len(content), url=location)


@router.get("/media/avatars/{avatar_id}", response_class=Response)
async def show(avatar_id: RowId, session: Session) -> Response:
    """Show a picture."""
    avatar = await session.get(Avatar, avatar_id)
    if avatar is None:
        raise HTTPException(404)
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(avatar.content, media_type=avatar.content_type, headers=headers)
