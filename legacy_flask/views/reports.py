"""Stream tables as CSV, row by row."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, stream_with_context
from flask.typing import ResponseReturnValue
from sqlalchemy import Select, select

from legacy_flask.database import new_session
from legacy_flask.models import Order, Product

blueprint = Blueprint("reports", __name__)

REPORTS: dict[str, Any] = {
    "products": select(Product.id, Product.sku, Product.name, Product.price_cents).order_by(Product.id),
    "orders": select(Order.id, Product.sku, Order.quantity, Order.total_cents, Order.status)
    .join(Order.product)
    .order_by(Order.id),
}
ROWS_AT_ONCE = 100


@blueprint.get("/reports/<name>.csv")
def show(name: str) -> ResponseReturnValue:
    """Stream one report."""
    report = REPORTS.get(name)
    if report is None:
        return {"error": "No such report"}, 404
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(stream_with_context(lines(report)), mimetype="text/csv", headers=headers)


def lines(report: Select[Any]) -> Iterator[str]:
    """Yield the header line, then the rows as the database gives them, ``ROWS_AT_ONCE`` at a time."""
    with new_session() as session:
        result = session.execute(report.execution_options(yield_per=ROWS_AT_ONCE))
        yield line(result.keys())
        for rows in result.partitions():
            yield "".join(line(row) for row in rows)


def line(values: Any) -> str:
    """Return values as one line of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)
    return buffer.getvalue()
