"""Show what the shop sells."""

from fastapi import APIRouter
from sqlalchemy import select

from new_api.database import Session
from new_api.models import Product
from new_api.schemas import Catalogue, ProductOut

router = APIRouter(tags=["catalogue"])


@router.get("/api/data")
async def data(session: Session) -> Catalogue:
    """List the products. The gateway keeps the limit of 100 requests a minute, for both apps."""
    products = await session.scalars(select(Product).order_by(Product.id))
    return Catalogue(data=[ProductOut.model_validate(product) for product in products])
