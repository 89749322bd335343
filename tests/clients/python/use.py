"""use.py ADDRESS: reads every table through models that SQLAlchemy (automap) and Django
(inspectdb) make of the database, follows every relation, and changes a row back and forth.

Prints a line of JSON for each client and table: its rows, or what failed. Tables without a primary key have no
model and no line.
"""

import io
import json
import sys
from urllib.parse import urlsplit

import django
import sqlalchemy
from django.conf import settings
from django.core.management import call_command
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

address = urlsplit(sys.argv[1])
failed = False


def line(client, table, work):
    global failed
    try:
        print(json.dumps({"client": client, "table": table, "rows": work()}))
    except Exception as error:  # Every failure is a line of its own.
        failed = True
        print(json.dumps({"client": client, "table": table, "error": f"{type(error).__name__}: {error}"}))


def automap():
    engine = sqlalchemy.create_engine(address._replace(scheme="postgresql+psycopg").geturl())
    base = automap_base()
    # Two relations between the same tables need names of their own.
    base.prepare(
        autoload_with=engine,
        name_for_scalar_relationship=lambda base, local, to, key: f"to_{key.name}",
        name_for_collection_relationship=lambda base, local, to, key: f"from_{key.name}",
    )

    def read(model):
        with Session(engine) as session:
            rows = session.query(model).all()
            for row in rows[:20]:
                for relation in sqlalchemy.inspect(model).relationships:
                    getattr(row, relation.key)
            for row in rows[:1]:
                names = [column.key for column in sqlalchemy.inspect(model).column_attrs]
                for name in names:
                    sqlalchemy.orm.attributes.flag_modified(row, name)
                session.flush()
                session.rollback()
            return len(rows)

    for model in base.classes:
        line("sqlalchemy", model.__table__.name, lambda model=model: read(model))


def inspectdb():
    settings.configure(
        INSTALLED_APPS=[],
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": address.hostname,
                "PORT": address.port,
                "NAME": address.path[1:],
                "USER": address.username,
            }
        },
    )
    django.setup()
    made = io.StringIO()
    call_command("inspectdb", stdout=made)
    scope = {"__name__": "inspected"}
    sys.modules["inspected"] = type(sys)("inspected")
    text = made.getvalue().replace("class Meta:", "class Meta:\n        app_label = 'inspected'")
    exec(compile(text, "inspected", "exec"), scope)

    from django.db import models, transaction

    def read(model):
        rows = list(model.objects.all())
        for row in rows[:20]:
            for field in model._meta.fields:
                getattr(row, field.name)
        for row in rows[:1]:
            # inspectdb knows no arrays and calls them text.
            fields = [field for field in model._meta.fields if field.concrete and field not in model._meta.pk_fields]
            names = [field.name for field in fields if not isinstance(getattr(row, field.attname), list)]
            with transaction.atomic():
                row.save(update_fields=names)
                transaction.set_rollback(True)
        return len(rows)

    for model in scope.values():
        if isinstance(model, type) and issubclass(model, models.Model) and model is not models.Model:
            line("django", model._meta.db_table.strip('"'), lambda model=model: read(model))


automap()
inspectdb()
sys.exit(failed)
