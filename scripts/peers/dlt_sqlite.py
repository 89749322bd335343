"""SQLite to PostgreSQL with dlt: read with ConnectorX, loaded as Parquet. Arguments: file, URI."""

import sys

import dlt
from dlt.sources.sql_database import sql_table

if __name__ == "__main__":
    source, target = sys.argv[1], sys.argv[2].replace("postgres://postgres@", "postgresql://postgres:any@", 1)
    pipeline = dlt.pipeline("rows", destination=dlt.destinations.postgres(target), dataset_name="public")
    table = sql_table(f"sqlite:///{source}", table="rows", backend="connectorx", reflection_level="full",
                      backend_kwargs={"conn": f"sqlite://{source}"})
    pipeline.run(table, loader_file_format="parquet", write_disposition="replace")
