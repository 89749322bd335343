CREATE SCHEMA IF NOT EXISTS "public";

CREATE TYPE "public"."industry_module" AS ENUM ('coworking', 'government', 'commercial_re', 'hotel', 'university', 'creative', 'residential', 'creative_studio');

CREATE TYPE "public"."page_status" AS ENUM ('draft', 'published', 'archived');

CREATE TYPE "public"."lead_status" AS ENUM ('new_inquiry', 'tour_scheduled', 'tour_completed', 'converted', 'closed');

CREATE TYPE "public"."tour_status" AS ENUM ('scheduled', 'completed', 'cancelled', 'no_show');

CREATE TYPE "public"."invoice_status" AS ENUM ('draft', 'sent', 'paid', 'overdue', 'cancelled');

CREATE TABLE "public"."tenants" (
    "id" uuid NOT NULL,
    "name" text NOT NULL,
    "subdomain" text NOT NULL,
    "custom_domain" text,
    "industry_module" "public"."industry_module",
    "plan" text,
    "is_active" boolean DEFAULT true NOT NULL,
    "settings" jsonb,
    "created_at" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "data" jsonb
);

CREATE TABLE "public"."users" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "email" text NOT NULL,
    "first_name" text,
    "last_name" text,
    "role" text NOT NULL,
    "is_active" boolean DEFAULT true NOT NULL,
    "profile" jsonb,
    "created_at" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "last_login" timestamptz,
    "data" jsonb
);

CREATE TABLE "public"."user_passwords" (
    "user_id" uuid NOT NULL,
    "hashed_password" text NOT NULL
);

CREATE TABLE "public"."pages" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "title" text NOT NULL,
    "slug" text NOT NULL,
    "content_blocks" jsonb,
    "meta_title" text,
    "meta_description" text,
    "status" "public"."page_status" DEFAULT 'draft' NOT NULL,
    "template_id" text,
    "is_homepage" boolean DEFAULT false,
    "layout_settings" jsonb,
    "seo_settings" jsonb,
    "created_at" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "updated_at" timestamptz DEFAULT CURRENT_TIMESTAMP,
    "data" jsonb
);

CREATE TABLE "public"."templates" (
    "id" uuid NOT NULL,
    "name" text NOT NULL,
    "industry_module" "public"."industry_module",
    "layout_config" jsonb,
    "default_content" jsonb,
    "is_active" boolean DEFAULT true,
    "data" jsonb
);

CREATE TABLE "public"."forms" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "name" text NOT NULL,
    "title" text,
    "fields" jsonb,
    "email_notifications" text[],
    "is_active" boolean DEFAULT true,
    "created_at" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "data" jsonb
);

CREATE TABLE "public"."leads" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "first_name" text,
    "last_name" text,
    "email" text,
    "phone" text,
    "company" text,
    "status" "public"."lead_status" NOT NULL,
    "assigned_to" uuid,
    "custom_fields" jsonb,
    "created_at" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "updated_at" timestamptz DEFAULT CURRENT_TIMESTAMP,
    "data" jsonb
);

CREATE TABLE "public"."tour_slots" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "staff_user_id" uuid,
    "date" timestamptz NOT NULL,
    "duration_minutes" integer,
    "max_bookings" integer,
    "is_available" boolean DEFAULT true,
    "data" jsonb
);

CREATE TABLE "public"."tours" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "lead_id" uuid,
    "tour_slot_id" uuid,
    "staff_user_id" uuid,
    "scheduled_at" timestamptz,
    "status" "public"."tour_status" NOT NULL,
    "data" jsonb
);

CREATE TABLE "public"."form_submissions" (
    "id" uuid NOT NULL,
    "created_at" timestamptz NOT NULL,
    "tenant_id" uuid,
    "form_id" uuid NOT NULL,
    "lead_id" uuid,
    "source_url" text,
    "data" jsonb,
    "rest" jsonb
);

CREATE TABLE "public"."widgets" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "name" text NOT NULL,
    "type" text,
    "config" jsonb,
    "is_active" boolean DEFAULT true,
    "data" jsonb
);

CREATE TABLE "public"."media_library" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "name" text,
    "data" jsonb
);

CREATE TABLE "public"."site_config" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "name" text,
    "data" jsonb
);

CREATE TABLE "public"."cms_themes" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "name" text,
    "data" jsonb
);

CREATE TABLE "public"."cms_templates" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "name" text,
    "data" jsonb
);

CREATE TABLE "public"."cms_blocks" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "name" text,
    "data" jsonb
);

CREATE TABLE "public"."page_builder_data" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "name" text,
    "data" jsonb
);

CREATE TABLE "public"."resources" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "name" text NOT NULL,
    "type" text,
    "parent_id" uuid,
    "capacity" integer,
    "amenities" text[],
    "hourly_rate" numeric,
    "is_bookable" boolean DEFAULT true,
    "is_active" boolean DEFAULT true,
    "created_at" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "data" jsonb
);

CREATE TABLE "public"."bookings" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "user_id" uuid,
    "resource_id" uuid,
    "start_time" timestamptz NOT NULL,
    "end_time" timestamptz NOT NULL,
    "status" text NOT NULL,
    "attendees" integer,
    "notes" text,
    "total_cost" numeric,
    "created_at" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "data" jsonb
);

CREATE TABLE "public"."events" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "host_user_id" uuid,
    "title" text NOT NULL,
    "description" text,
    "event_type" text,
    "start_time" timestamptz NOT NULL,
    "end_time" timestamptz NOT NULL,
    "location" text,
    "resource_id" uuid,
    "max_attendees" integer,
    "is_public" boolean,
    "requires_approval" boolean,
    "cost" numeric,
    "attendees" uuid[],
    "waitlist" uuid[],
    "tags" text[],
    "created_at" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "data" jsonb
);

CREATE TABLE "public"."checkins" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "user_id" uuid,
    "resource_id" uuid,
    "check_in_time" timestamptz NOT NULL,
    "check_out_time" timestamptz,
    "status" text,
    "duration_minutes" integer,
    "data" jsonb
);

CREATE TABLE "public"."availability_schedules" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "resource_id" uuid NOT NULL,
    "day_of_week" smallint NOT NULL,
    "start_time" text NOT NULL,
    "end_time" text NOT NULL,
    "data" jsonb
);

CREATE TABLE "public"."invoices" (
    "id" text NOT NULL,
    "tenant_id" uuid NOT NULL,
    "customer_id" uuid,
    "subtotal" numeric,
    "tax_amount" numeric,
    "total_amount" numeric,
    "status" "public"."invoice_status" NOT NULL,
    "due_date" timestamptz,
    "data" jsonb
);

CREATE TABLE "public"."line_items" (
    "id" uuid NOT NULL,
    "line_id" text,
    "invoice_id" text,
    "quantity" numeric,
    "unit_price" numeric,
    "line_total" numeric,
    "data" jsonb
);

CREATE TABLE "public"."products" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "name" text,
    "is_active" boolean DEFAULT true,
    "data" jsonb
);

CREATE TABLE "public"."transactions" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "transaction_date" timestamptz NOT NULL,
    "amount" numeric,
    "data" jsonb
);

CREATE TABLE "public"."subscriptions" (
    "id" uuid NOT NULL,
    "tenant_id" uuid NOT NULL,
    "customer_id" uuid,
    "status" text,
    "data" jsonb
);

CREATE TABLE "public"."message_templates" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "name" text,
    "data" jsonb
);

CREATE TABLE "public"."workflows" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "trigger_event" text NOT NULL,
    "steps" jsonb,
    "data" jsonb
);

CREATE TABLE "public"."message_queue" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "status" text NOT NULL,
    "scheduled_for" timestamptz,
    "data" jsonb
);

CREATE TABLE "public"."automation_logs" (
    "id" uuid NOT NULL,
    "tenant_id" uuid,
    "workflow_id" uuid,
    "data" jsonb
);

ALTER TABLE "public"."tenants" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."tenants" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."tenants";
CREATE POLICY tenant_isolation ON "public"."tenants" USING ("id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."users" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."users" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."users";
CREATE POLICY tenant_isolation ON "public"."users" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."pages" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."pages" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."pages";
CREATE POLICY tenant_isolation ON "public"."pages" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."forms" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."forms" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."forms";
CREATE POLICY tenant_isolation ON "public"."forms" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."leads" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."leads" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."leads";
CREATE POLICY tenant_isolation ON "public"."leads" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."tour_slots" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."tour_slots" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."tour_slots";
CREATE POLICY tenant_isolation ON "public"."tour_slots" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."tours" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."tours" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."tours";
CREATE POLICY tenant_isolation ON "public"."tours" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."form_submissions" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."form_submissions" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."form_submissions";
CREATE POLICY tenant_isolation ON "public"."form_submissions" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."widgets" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."widgets" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."widgets";
CREATE POLICY tenant_isolation ON "public"."widgets" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."media_library" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."media_library" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."media_library";
CREATE POLICY tenant_isolation ON "public"."media_library" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."site_config" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."site_config" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."site_config";
CREATE POLICY tenant_isolation ON "public"."site_config" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."cms_themes" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."cms_themes" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."cms_themes";
CREATE POLICY tenant_isolation ON "public"."cms_themes" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."cms_templates" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."cms_templates" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."cms_templates";
CREATE POLICY tenant_isolation ON "public"."cms_templates" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."cms_blocks" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."cms_blocks" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."cms_blocks";
CREATE POLICY tenant_isolation ON "public"."cms_blocks" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."page_builder_data" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."page_builder_data" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."page_builder_data";
CREATE POLICY tenant_isolation ON "public"."page_builder_data" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."resources" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."resources" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."resources";
CREATE POLICY tenant_isolation ON "public"."resources" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."bookings" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."bookings" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."bookings";
CREATE POLICY tenant_isolation ON "public"."bookings" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."events" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."events" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."events";
CREATE POLICY tenant_isolation ON "public"."events" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."checkins" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."checkins" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."checkins";
CREATE POLICY tenant_isolation ON "public"."checkins" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."availability_schedules" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."availability_schedules" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."availability_schedules";
CREATE POLICY tenant_isolation ON "public"."availability_schedules" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."invoices" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."invoices" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."invoices";
CREATE POLICY tenant_isolation ON "public"."invoices" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."products" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."products" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."products";
CREATE POLICY tenant_isolation ON "public"."products" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."transactions" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."transactions" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."transactions";
CREATE POLICY tenant_isolation ON "public"."transactions" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."subscriptions" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."subscriptions" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."subscriptions";
CREATE POLICY tenant_isolation ON "public"."subscriptions" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."message_templates" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."message_templates" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."message_templates";
CREATE POLICY tenant_isolation ON "public"."message_templates" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."workflows" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."workflows" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."workflows";
CREATE POLICY tenant_isolation ON "public"."workflows" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."message_queue" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."message_queue" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."message_queue";
CREATE POLICY tenant_isolation ON "public"."message_queue" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."automation_logs" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "public"."automation_logs" FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_isolation ON "public"."automation_logs";
CREATE POLICY tenant_isolation ON "public"."automation_logs" USING ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid) WITH CHECK ("tenant_id" = nullif(current_setting('app.current_tenant_id', true), '')::uuid);

ALTER TABLE "public"."tenants" ADD CONSTRAINT "tenants_pkey" PRIMARY KEY ("id");

ALTER TABLE "public"."tenants" ADD CONSTRAINT "tenants_subdomain_key" UNIQUE ("subdomain");

ALTER TABLE "public"."users" ADD CONSTRAINT "users_pkey" PRIMARY KEY ("id");

ALTER TABLE "public"."users" ADD CONSTRAINT "users_tenant_id_email_key" UNIQUE ("tenant_id", "email");

CREATE INDEX "users_tenant_id_idx" ON "public"."users" USING btree ("tenant_id");

CREATE INDEX "users_role_idx" ON "public"."users" USING btree ("role");

CREATE INDEX "users_profile_idx" ON "public"."users" USING gin ("profile");

ALTER TABLE "public"."user_passwords" ADD CONSTRAINT "user_passwords_pkey" PRIMARY KEY ("user_id");

ALTER TABLE "public"."pages" ADD CONSTRAINT "pages_pkey" PRIMARY KEY ("id");

ALTER TABLE "public"."pages" ADD CONSTRAINT "pages_tenant_id_slug_key" UNIQUE ("tenant_id", "slug");

CREATE INDEX "pages_tenant_id_idx" ON "public"."pages" USING btree ("tenant_id");

CREATE INDEX "pages_status_idx" ON "public"."pages" USING btree ("status");

CREATE INDEX "pages_content_blocks_idx" ON "public"."pages" USING gin ("content_blocks");

ALTER TABLE "public"."templates" ADD CONSTRAINT "templates_pkey" PRIMARY KEY ("id");

ALTER TABLE "public"."forms" ADD CONSTRAINT "forms_pkey" PRIMARY KEY ("id");

CREATE INDEX "forms_tenant_id_idx" ON "public"."forms" USING btree ("tenant_id");

ALTER TABLE "public"."leads" ADD CONSTRAINT "leads_pkey" PRIMARY KEY ("id");

CREATE INDEX "leads_tenant_id_idx" ON "public"."leads" USING btree ("tenant_id");

CREATE INDEX "leads_email_idx" ON "public"."leads" USING btree ("email");

CREATE INDEX "leads_status_idx" ON "public"."leads" USING btree ("status");

CREATE INDEX "leads_assigned_to_idx" ON "public"."leads" USING btree ("assigned_to");

ALTER TABLE "public"."tour_slots" ADD CONSTRAINT "tour_slots_pkey" PRIMARY KEY ("id");

CREATE INDEX "tour_slots_tenant_id_idx" ON "public"."tour_slots" USING btree ("tenant_id");

CREATE INDEX "tour_slots_staff_user_id_idx" ON "public"."tour_slots" USING btree ("staff_user_id");

ALTER TABLE "public"."tours" ADD CONSTRAINT "tours_pkey" PRIMARY KEY ("id");

CREATE INDEX "tours_tenant_id_idx" ON "public"."tours" USING btree ("tenant_id");

CREATE INDEX "tours_lead_id_idx" ON "public"."tours" USING btree ("lead_id");

CREATE INDEX "tours_tour_slot_id_idx" ON "public"."tours" USING btree ("tour_slot_id");

CREATE INDEX "tours_staff_user_id_idx" ON "public"."tours" USING btree ("staff_user_id");

CREATE INDEX "tours_status_idx" ON "public"."tours" USING btree ("status");

ALTER TABLE "public"."form_submissions" ADD CONSTRAINT "form_submissions_pkey" PRIMARY KEY ("id", "created_at");

CREATE INDEX "form_submissions_tenant_id_idx" ON "public"."form_submissions" USING btree ("tenant_id");

CREATE INDEX "form_submissions_form_id_idx" ON "public"."form_submissions" USING btree ("form_id");

CREATE INDEX "form_submissions_lead_id_idx" ON "public"."form_submissions" USING btree ("lead_id");

ALTER TABLE "public"."widgets" ADD CONSTRAINT "widgets_pkey" PRIMARY KEY ("id");

CREATE INDEX "widgets_tenant_id_idx" ON "public"."widgets" USING btree ("tenant_id");

CREATE INDEX "widgets_type_idx" ON "public"."widgets" USING btree ("type");

ALTER TABLE "public"."media_library" ADD CONSTRAINT "media_library_pkey" PRIMARY KEY ("id");

CREATE INDEX "media_library_tenant_id_idx" ON "public"."media_library" USING btree ("tenant_id");

ALTER TABLE "public"."site_config" ADD CONSTRAINT "site_config_pkey" PRIMARY KEY ("id");

CREATE INDEX "site_config_tenant_id_idx" ON "public"."site_config" USING btree ("tenant_id");

ALTER TABLE "public"."cms_themes" ADD CONSTRAINT "cms_themes_pkey" PRIMARY KEY ("id");

CREATE INDEX "cms_themes_tenant_id_idx" ON "public"."cms_themes" USING btree ("tenant_id");

ALTER TABLE "public"."cms_templates" ADD CONSTRAINT "cms_templates_pkey" PRIMARY KEY ("id");

CREATE INDEX "cms_templates_tenant_id_idx" ON "public"."cms_templates" USING btree ("tenant_id");

ALTER TABLE "public"."cms_blocks" ADD CONSTRAINT "cms_blocks_pkey" PRIMARY KEY ("id");

CREATE INDEX "cms_blocks_tenant_id_idx" ON "public"."cms_blocks" USING btree ("tenant_id");

ALTER TABLE "public"."page_builder_data" ADD CONSTRAINT "page_builder_data_pkey" PRIMARY KEY ("id");

CREATE INDEX "page_builder_data_tenant_id_idx" ON "public"."page_builder_data" USING btree ("tenant_id");

ALTER TABLE "public"."resources" ADD CONSTRAINT "resources_pkey" PRIMARY KEY ("id");

CREATE INDEX "resources_tenant_id_idx" ON "public"."resources" USING btree ("tenant_id");

CREATE INDEX "resources_type_idx" ON "public"."resources" USING btree ("type");

CREATE INDEX "resources_parent_id_idx" ON "public"."resources" USING btree ("parent_id");

ALTER TABLE "public"."bookings" ADD CONSTRAINT "bookings_pkey" PRIMARY KEY ("id");

CREATE INDEX "bookings_tenant_id_idx" ON "public"."bookings" USING btree ("tenant_id");

CREATE INDEX "bookings_user_id_idx" ON "public"."bookings" USING btree ("user_id");

CREATE INDEX "bookings_resource_id_idx" ON "public"."bookings" USING btree ("resource_id");

CREATE INDEX "bookings_status_idx" ON "public"."bookings" USING btree ("status");

ALTER TABLE "public"."events" ADD CONSTRAINT "events_pkey" PRIMARY KEY ("id");

CREATE INDEX "events_tenant_id_idx" ON "public"."events" USING btree ("tenant_id");

CREATE INDEX "events_host_user_id_idx" ON "public"."events" USING btree ("host_user_id");

CREATE INDEX "events_event_type_idx" ON "public"."events" USING btree ("event_type");

CREATE INDEX "events_resource_id_idx" ON "public"."events" USING btree ("resource_id");

ALTER TABLE "public"."checkins" ADD CONSTRAINT "checkins_pkey" PRIMARY KEY ("id");

CREATE INDEX "checkins_tenant_id_idx" ON "public"."checkins" USING btree ("tenant_id");

CREATE INDEX "checkins_user_id_idx" ON "public"."checkins" USING btree ("user_id");

CREATE INDEX "checkins_resource_id_idx" ON "public"."checkins" USING btree ("resource_id");

CREATE INDEX "checkins_status_idx" ON "public"."checkins" USING btree ("status");

ALTER TABLE "public"."availability_schedules" ADD CONSTRAINT "availability_schedules_pkey" PRIMARY KEY ("id");

CREATE INDEX "availability_schedules_tenant_id_idx" ON "public"."availability_schedules" USING btree ("tenant_id");

CREATE INDEX "availability_schedules_resource_id_idx" ON "public"."availability_schedules" USING btree ("resource_id");

ALTER TABLE "public"."invoices" ADD CONSTRAINT "invoices_pkey" PRIMARY KEY ("id");

CREATE INDEX "invoices_tenant_id_idx" ON "public"."invoices" USING btree ("tenant_id");

CREATE INDEX "invoices_customer_id_idx" ON "public"."invoices" USING btree ("customer_id");

CREATE INDEX "invoices_status_idx" ON "public"."invoices" USING btree ("status");

ALTER TABLE "public"."line_items" ADD CONSTRAINT "line_items_pkey" PRIMARY KEY ("id");

CREATE INDEX "line_items_invoice_id_idx" ON "public"."line_items" USING btree ("invoice_id");

ALTER TABLE "public"."products" ADD CONSTRAINT "products_pkey" PRIMARY KEY ("id");

CREATE INDEX "products_tenant_id_idx" ON "public"."products" USING btree ("tenant_id");

ALTER TABLE "public"."transactions" ADD CONSTRAINT "transactions_pkey" PRIMARY KEY ("id");

CREATE INDEX "transactions_tenant_id_idx" ON "public"."transactions" USING btree ("tenant_id");

CREATE INDEX "transactions_transaction_date_idx" ON "public"."transactions" USING btree ("transaction_date");

ALTER TABLE "public"."subscriptions" ADD CONSTRAINT "subscriptions_pkey" PRIMARY KEY ("id");

CREATE INDEX "subscriptions_tenant_id_idx" ON "public"."subscriptions" USING btree ("tenant_id");

CREATE INDEX "subscriptions_customer_id_idx" ON "public"."subscriptions" USING btree ("customer_id");

CREATE INDEX "subscriptions_status_idx" ON "public"."subscriptions" USING btree ("status");

ALTER TABLE "public"."message_templates" ADD CONSTRAINT "message_templates_pkey" PRIMARY KEY ("id");

CREATE INDEX "message_templates_tenant_id_idx" ON "public"."message_templates" USING btree ("tenant_id");

ALTER TABLE "public"."workflows" ADD CONSTRAINT "workflows_pkey" PRIMARY KEY ("id");

CREATE INDEX "workflows_tenant_id_idx" ON "public"."workflows" USING btree ("tenant_id");

CREATE INDEX "workflows_trigger_event_idx" ON "public"."workflows" USING btree ("trigger_event");

ALTER TABLE "public"."message_queue" ADD CONSTRAINT "message_queue_pkey" PRIMARY KEY ("id");

CREATE INDEX "message_queue_tenant_id_idx" ON "public"."message_queue" USING btree ("tenant_id");

CREATE INDEX "message_queue_status_scheduled_for_idx" ON "public"."message_queue" USING btree ("status", "scheduled_for");

ALTER TABLE "public"."automation_logs" ADD CONSTRAINT "automation_logs_pkey" PRIMARY KEY ("id");

CREATE INDEX "automation_logs_tenant_id_idx" ON "public"."automation_logs" USING btree ("tenant_id");

CREATE INDEX "automation_logs_workflow_id_idx" ON "public"."automation_logs" USING btree ("workflow_id");

ALTER TABLE "public"."users" ADD CONSTRAINT "users_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."user_passwords" ADD CONSTRAINT "user_passwords_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "public"."users" ("id") ON DELETE CASCADE;

ALTER TABLE "public"."pages" ADD CONSTRAINT "pages_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."forms" ADD CONSTRAINT "forms_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."leads" ADD CONSTRAINT "leads_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."leads" ADD CONSTRAINT "leads_assigned_to_fkey" FOREIGN KEY ("assigned_to") REFERENCES "public"."users" ("id");

ALTER TABLE "public"."tour_slots" ADD CONSTRAINT "tour_slots_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."tour_slots" ADD CONSTRAINT "tour_slots_staff_user_id_fkey" FOREIGN KEY ("staff_user_id") REFERENCES "public"."users" ("id");

ALTER TABLE "public"."tours" ADD CONSTRAINT "tours_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."tours" ADD CONSTRAINT "tours_lead_id_fkey" FOREIGN KEY ("lead_id") REFERENCES "public"."leads" ("id");

ALTER TABLE "public"."tours" ADD CONSTRAINT "tours_tour_slot_id_fkey" FOREIGN KEY ("tour_slot_id") REFERENCES "public"."tour_slots" ("id");

ALTER TABLE "public"."tours" ADD CONSTRAINT "tours_staff_user_id_fkey" FOREIGN KEY ("staff_user_id") REFERENCES "public"."users" ("id");

ALTER TABLE "public"."form_submissions" ADD CONSTRAINT "form_submissions_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."form_submissions" ADD CONSTRAINT "form_submissions_form_id_fkey" FOREIGN KEY ("form_id") REFERENCES "public"."forms" ("id");

ALTER TABLE "public"."form_submissions" ADD CONSTRAINT "form_submissions_lead_id_fkey" FOREIGN KEY ("lead_id") REFERENCES "public"."leads" ("id");

ALTER TABLE "public"."widgets" ADD CONSTRAINT "widgets_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."media_library" ADD CONSTRAINT "media_library_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."site_config" ADD CONSTRAINT "site_config_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."cms_themes" ADD CONSTRAINT "cms_themes_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."cms_templates" ADD CONSTRAINT "cms_templates_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."cms_blocks" ADD CONSTRAINT "cms_blocks_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."page_builder_data" ADD CONSTRAINT "page_builder_data_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."resources" ADD CONSTRAINT "resources_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."resources" ADD CONSTRAINT "resources_parent_id_fkey" FOREIGN KEY ("parent_id") REFERENCES "public"."resources" ("id");

ALTER TABLE "public"."bookings" ADD CONSTRAINT "bookings_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."bookings" ADD CONSTRAINT "bookings_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "public"."users" ("id");

ALTER TABLE "public"."bookings" ADD CONSTRAINT "bookings_resource_id_fkey" FOREIGN KEY ("resource_id") REFERENCES "public"."resources" ("id");

ALTER TABLE "public"."events" ADD CONSTRAINT "events_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."events" ADD CONSTRAINT "events_host_user_id_fkey" FOREIGN KEY ("host_user_id") REFERENCES "public"."users" ("id");

ALTER TABLE "public"."events" ADD CONSTRAINT "events_resource_id_fkey" FOREIGN KEY ("resource_id") REFERENCES "public"."resources" ("id");

ALTER TABLE "public"."checkins" ADD CONSTRAINT "checkins_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."checkins" ADD CONSTRAINT "checkins_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "public"."users" ("id");

ALTER TABLE "public"."checkins" ADD CONSTRAINT "checkins_resource_id_fkey" FOREIGN KEY ("resource_id") REFERENCES "public"."resources" ("id");

ALTER TABLE "public"."availability_schedules" ADD CONSTRAINT "availability_schedules_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."availability_schedules" ADD CONSTRAINT "availability_schedules_resource_id_fkey" FOREIGN KEY ("resource_id") REFERENCES "public"."resources" ("id") ON DELETE CASCADE;

ALTER TABLE "public"."invoices" ADD CONSTRAINT "invoices_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."invoices" ADD CONSTRAINT "invoices_customer_id_fkey" FOREIGN KEY ("customer_id") REFERENCES "public"."users" ("id");

ALTER TABLE "public"."line_items" ADD CONSTRAINT "line_items_invoice_id_fkey" FOREIGN KEY ("invoice_id") REFERENCES "public"."invoices" ("id");

ALTER TABLE "public"."products" ADD CONSTRAINT "products_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."transactions" ADD CONSTRAINT "transactions_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."subscriptions" ADD CONSTRAINT "subscriptions_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."subscriptions" ADD CONSTRAINT "subscriptions_customer_id_fkey" FOREIGN KEY ("customer_id") REFERENCES "public"."users" ("id");

ALTER TABLE "public"."message_templates" ADD CONSTRAINT "message_templates_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."workflows" ADD CONSTRAINT "workflows_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."message_queue" ADD CONSTRAINT "message_queue_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."automation_logs" ADD CONSTRAINT "automation_logs_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants" ("id");

ALTER TABLE "public"."automation_logs" ADD CONSTRAINT "automation_logs_workflow_id_fkey" FOREIGN KEY ("workflow_id") REFERENCES "public"."workflows" ("id");
