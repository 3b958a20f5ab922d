DROP TABLE organization_members, organizations, users;
DROP FUNCTION touch_updated_at();
