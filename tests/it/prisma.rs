//! Pipeline files drafted from Prisma schemas: the tables that Prisma Migrate makes.

use std::path::Path;

use mongodb::bson::{DateTime, doc};

use crate::plan::id;
use crate::support::{data, docferry, project, shown, write_dump};

const PRISMA: &str = r#"
generator client {
  provider = "prisma-client-js"
}
datasource db {
  provider = "mongodb"
  url      = env("DATABASE_URL")
}

/// People who log in.
model User {
  id       String   @id @default(auto()) @map("_id") @db.ObjectId
  v        Int?     @map("__v")
  email    String   @unique
  role     Role     @default(MEMBER)
  nick     String?  @map("nick_name")
  tags     String[]
  address  Address?
  boss     User?    @relation("Boss", fields: [bossId], references: [id], onDelete: NoAction, onUpdate: NoAction)
  bossId   String?  @db.ObjectId
  staff    User[]   @relation("Boss")
  posts    Post[]
  liked    Post[]   @relation("Likes", fields: [likedIds], references: [id])
  likedIds String[] @db.ObjectId
  createdAt DateTime @default(now())

  @@index([role, createdAt(sort: Desc)])
  @@map("users")
}

model Post {
  id      String @id @default(auto()) @map("_id") @db.ObjectId
  slug    String
  blog    String
  author  User   @relation(fields: [authorId], references: [id], onDelete: Cascade)
  authorId String @db.ObjectId
  fans    User[] @relation("Likes", fields: [fanIds], references: [id])
  fanIds  String[] @db.ObjectId
  views   BigInt @default(0)
  score   Float?
  body    Json

  @@unique([blog, slug])
}

enum Role {
  MEMBER
  ADMIN @map("admin")
}

type Address {
  street String
}
"#;

/// The SQL of a pipeline file.
fn ddl(pipeline: &Path) -> String {
    let output = docferry().args(["ddl", pipeline.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_prisma_schema_becomes_the_tables_that_prisma_makes() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("schema.prisma");
    std::fs::write(&schema, PRISMA).unwrap();
    let pipeline = folder.path().join("blog.toml");
    let run = |more: &[&str]| {
        docferry()
            .args(["plan", "--prisma", schema.to_str().unwrap(), "--force", "-o"])
            .arg(&pipeline)
            .args(more)
            .output()
            .unwrap()
    };
    let output = run(&[]);
    assert!(output.status.success(), "{}", shown(&output));
    let sql = ddl(&pipeline);
    for expected in [
        r#"CREATE TYPE "public"."Role" AS ENUM ('MEMBER', 'admin')"#,
        r#"CREATE TABLE "public"."users""#,
        r#""id" uuid NOT NULL"#,
        r#""__v" integer"#,
        r#""nick_name" text"#,
        r#""tags" text[]"#,
        r#""address" jsonb"#,
        r#""createdAt" timestamp(3) DEFAULT CURRENT_TIMESTAMP NOT NULL"#,
        r#""role" "public"."Role" DEFAULT 'MEMBER' NOT NULL"#,
        r#""views" bigint DEFAULT 0 NOT NULL"#,
        r#"CONSTRAINT "users_email_key" UNIQUE"#,
        r#"CONSTRAINT "Post_blog_slug_key" UNIQUE"#,
        r#"CREATE INDEX "users_role_createdAt_idx""#,
        r#"CONSTRAINT "Post_authorId_fkey" FOREIGN KEY ("authorId") REFERENCES "public"."users" ("id") ON DELETE CASCADE ON UPDATE CASCADE"#,
        r#"CONSTRAINT "users_bossId_fkey" FOREIGN KEY ("bossId") REFERENCES "public"."users" ("id")"#,
        r#"CREATE TABLE "public"."_Likes""#,
        r#"FOREIGN KEY ("A") REFERENCES "public"."Post""#,
        r#"FOREIGN KEY ("B") REFERENCES "public"."users""#,
    ] {
        assert!(sql.contains(expected), "{expected} is not in\n{sql}");
    }
    // A database is compared with the schema.
    let dump = folder.path().join("dump/blog");
    write_dump(
        &dump,
        "users",
        &[
            doc! {"_id": id(1), "email": "a@b.cz", "role": "admin", "createdAt": DateTime::now(), "likedIds": [], "extra": 1},
        ],
    );
    write_dump(&dump, "Post", &[]);
    let output = run(&[dump.to_str().unwrap()]);
    assert!(output.status.success(), "{}", shown(&output));
    assert!(shown(&output).contains("users.extra"), "{}", shown(&output));

    std::fs::write(&schema, PRISMA.replace("author  User ", "author  Usr ")).unwrap();
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("schema.prisma:35"), "{}", shown(&output));
}

#[test]
fn a_moment_of_mongodb_stays_one_whatever_prisma_calls_it() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("schema.prisma");
    let text = "datasource db {\n provider = \"mongodb\"\n}\nmodel Event {\n\
                id String @id @map(\"_id\") @db.ObjectId\n startsAt DateTime @db.Date\n\
                hidden Int @ignore\n @@ignore\n @@map(\"events\")\n}\nview Totals {\n id Int\n}\n";
    std::fs::write(&schema, text).unwrap();
    let pipeline = folder.path().join("events.toml");
    let dump = folder.path().join("dump/events");
    let at = |hour: i64| DateTime::from_millis(1_700_000_000_000 + hour * 3_600_000);
    let events = [1_u32, 2].map(|n| doc! {"_id": id(n), "startsAt": at(i64::from(n)), "hidden": 1});
    write_dump(&dump, "events", &events);
    let output = docferry()
        .args(["plan", dump.to_str().unwrap(), "--prisma", schema.to_str().unwrap(), "-o"])
        .arg(&pipeline)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(shown(&output).contains("is as"), "{}", shown(&output));
    let sql = ddl(&pipeline);
    // Prisma Migrate makes what is hidden from the client.
    assert!(sql.contains(r#""startsAt" timestamp(3) NOT NULL"#), "{sql}");
    assert!(sql.contains(r#""hidden" integer NOT NULL"#), "{sql}");
    let text = std::fs::read_to_string(&pipeline).unwrap();
    assert!(text.contains("view Totals is left out"), "{text}");
    // A column of dates would refuse both, and the comparison says so.
    std::fs::write(&pipeline, text.replace("timestamp(3)", "date")).unwrap();
    let output = docferry()
        .args(["plan", dump.to_str().unwrap(), "--diff", pipeline.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    assert!(shown(&output).contains("startsAt"), "{}", shown(&output));
}

#[test]
fn a_prisma_schema_of_postgresql_is_what_the_target_is_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("prisma/schema");
    std::fs::create_dir_all(schema.join("more")).unwrap();
    let main = "datasource db {\n provider = \"postgresql\"\n}\nmodel Board {\n\
                id String @id @default(uuid()) @db.Uuid\n v Int @map(\"__v\")\n\
                title String @db.VarChar(80)\n price Decimal @db.Decimal(10, 2)\n\
                day DateTime @db.Date\n at DateTime @db.Timestamptz(6)\n place String? @db.Inet\n\
                watchers BoardWatchers[]\n tags Tag[]\n where Unsupported(\"point\")?\n\
                labels String[]\n @@index([day(sort: Desc)])\n @@index([labels], type: Gin)\n}\n";
    let more = "model BoardWatchers {\n board_id String @db.Uuid\n user_id String @db.Uuid\n\
                board Board @relation(fields: [board_id], references: [id], onDelete: Cascade)\n\
                @@id([board_id, user_id])\n}\nmodel Tag {\n id Int @id @default(autoincrement())\n\
                boards Board[]\n}\n";
    std::fs::write(schema.join("schema.prisma"), main).unwrap();
    std::fs::write(schema.join("more/links.prisma"), more).unwrap();
    let pipeline = folder.path().join("boards.toml");
    let run = || {
        docferry()
            .args(["plan", "--prisma", schema.to_str().unwrap(), "--force", "-o"])
            .arg(&pipeline)
            .output()
            .unwrap()
    };
    let output = run();
    assert!(output.status.success(), "{}", shown(&output));
    let sql = ddl(&pipeline);
    for expected in [
        r#""id" uuid NOT NULL"#,
        r#""__v" integer NOT NULL"#,
        r#""title" varchar(80) NOT NULL"#,
        r#""price" numeric(10,2) NOT NULL"#,
        r#""day" date NOT NULL"#,
        r#""at" timestamptz NOT NULL"#,
        r#""place" text"#,
        r#"USING btree ("day" DESC)"#,
        r#"USING gin ("labels")"#,
        r#"CONSTRAINT "BoardWatchers_pkey" PRIMARY KEY ("board_id", "user_id")"#,
        r#"REFERENCES "public"."Board" ("id") ON DELETE CASCADE ON UPDATE CASCADE"#,
        r#""id" integer GENERATED BY DEFAULT AS IDENTITY NOT NULL"#,
    ] {
        assert!(sql.contains(expected), "{expected} is not in\n{sql}");
    }
    let text = std::fs::read_to_string(&pipeline).unwrap();
    for said in
        ["decide: tags is an implicit many-to-many", "where has an unsupported type", "@db.Inet"]
    {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    // A mistake is shown in the file in which it stands.
    std::fs::write(
        schema.join("more/links.prisma"),
        more.replace("@@id([board_id", "@@id([bord_id"),
    )
    .unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("links.prisma:1"), "{}", shown(&output));
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for (path, said) in [
        (empty, "holds no file that ends in .prisma"),
        (folder.path().join("gone"), "could not read the Prisma schema"),
    ] {
        let output =
            docferry().args(["plan", "--prisma", path.to_str().unwrap()]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains(said), "{}", shown(&output));
    }
}

/// The model of NextCRM, from its facts, as its schema would write it.
fn crm_schema(facts: &serde_json::Value) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (name, labels) in facts["enums"].as_object().unwrap() {
        let labels: Vec<&str> =
            labels.as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
        let _ = writeln!(text, "enum {name} {{\n{}\n}}", labels.join("\n"));
    }
    for (name, model) in facts["models"].as_object().unwrap() {
        let _ = writeln!(text, "model {name} {{");
        for field in model["fields"].as_array().unwrap() {
            let own = field["name"].as_str().unwrap();
            let kind = field["type"].as_str().unwrap();
            let suffix = if field["list"] == true {
                "[]"
            } else if field["optional"] == true {
                "?"
            } else {
                ""
            };
            let _ = write!(text, "  {own} {kind}{suffix}");
            if own == "id" {
                text.push_str(" @id @default(auto())");
            }
            if let Some(mapped) = field["bson_name"].as_str() {
                let _ = write!(text, " @map(\"{mapped}\")");
            }
            if field["objectId"] == true {
                text.push_str(" @db.ObjectId");
            }
            if field["unique"] == true {
                text.push_str(" @unique");
            }
            text.push('\n');
        }
        for reference in model["refs"].as_array().unwrap() {
            let (field, target) =
                (reference["field"].as_str().unwrap(), reference["target"].as_str().unwrap());
            let suffix = if reference["many"] == true { "[]" } else { "?" };
            let _ = writeln!(
                text,
                "  to_{field} {target}{suffix} @relation(fields: [{field}], references: [id])"
            );
        }
        text.push_str("}\n");
    }
    text
}

#[test]
fn the_schema_of_a_crm_becomes_its_tables() {
    let Some(data) = data() else { return };
    let facts = std::fs::read(data.join("nextcrm/schema_facts.json")).unwrap();
    let facts: serde_json::Value = serde_json::from_slice(&facts).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("schema.prisma");
    std::fs::write(&schema, crm_schema(&facts)).unwrap();
    let pipeline = folder.path().join("crm.toml");
    let output = docferry()
        .args(["plan", "--prisma", schema.to_str().unwrap(), "-o", pipeline.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let made = docferry::pipeline::load(&pipeline).unwrap();
    let made = docferry::pipeline::definitions::table_definitions(&made);
    let models = facts["models"].as_object().unwrap();
    for (name, model) in models {
        let table = made.iter().find(|table| table.name == *name).unwrap();
        let expected: Vec<&str> = model["fields"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|field| {
                let field = field["name"].as_str().unwrap();
                // Arrays of ids are junctions.
                let references = model["refs"].as_array().unwrap();
                let own = references.iter().find(|reference| reference["field"] == *field);
                let list = model["fields"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|other| other["name"] == *field && other["list"] == true);
                !(own.is_some() && list)
            })
            .map(|field| match field["bson_name"].as_str() {
                Some(mapped) if mapped != "_id" => mapped,
                _ => field["name"].as_str().unwrap(),
            })
            .collect();
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(columns, expected, "{name}");
    }
    let junctions = made.iter().filter(|table| table.name.starts_with('_')).count();
    assert_eq!((made.len() - junctions, junctions), (models.len(), 10));
    let keys: usize = made
        .iter()
        .filter(|table| !table.name.starts_with('_'))
        .map(|table| table.foreign_keys.len())
        .sum();
    let declared = docferry::pipeline::load(&project("pipelines/nextcrm.toml")).unwrap();
    let own = docferry::pipeline::definitions::table_definitions(&declared);
    let own: usize = own
        .iter()
        .filter(|table| table.kind == docferry::staging::table::TableKind::Table)
        .map(|table| table.foreign_keys.len())
        .sum();
    assert_eq!(keys, own, "as many foreign keys as the file written by hand");
}
