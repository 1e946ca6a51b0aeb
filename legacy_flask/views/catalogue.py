"""Show what the shop sells."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from legacy_flask.database import session
from legacy_flask.models import Product

blueprint = Blueprint("catalogue", __name__)


# Its limit of 100 requests a minute stood here, on the view; the gateway keeps it now, for both apps.
@blueprint.get("/api/data")
def data() -> ResponseReturnValue:
    """List the products."""
    products = session().scalars(select(Product).order_by(Product.id))
    return jsonify(data=[product.to_dict() for product in products])
