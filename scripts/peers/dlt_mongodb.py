"""MongoDB to PostgreSQL with dlt: documents read with pymongo and made plain as dlt's MongoDB source
does, nested lists as child tables, loaded as Parquet. Arguments: MongoDB URI, PostgreSQL URI."""

import datetime
import sys

import dlt
import pymongo
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId


def plain(value):
    if isinstance(value, (ObjectId, Decimal128)):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=datetime.timezone.utc)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


@dlt.resource(name="orders", write_disposition="replace")
def orders(uri):
    documents = pymongo.MongoClient(uri).get_default_database()["orders"].find(batch_size=10_000)
    batch = []
    for document in documents:
        batch.append(plain(document))
        if len(batch) == 10_000:
            yield batch
            batch = []
    yield batch


if __name__ == "__main__":
    source, target = sys.argv[1], sys.argv[2].replace("postgres://postgres@", "postgresql://postgres:any@", 1)
    pipeline = dlt.pipeline(
        "orders", destination=dlt.destinations.postgres(target), dataset_name="public", dev_mode=False
    )
    pipeline.run(orders(source), loader_file_format="parquet")
