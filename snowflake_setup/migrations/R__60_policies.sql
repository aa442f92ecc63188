-- Who sees what. A policy in use cannot be replaced, but its body can: so each is created if missing,
-- then given its body.
--
-- Masking goes by CURRENT_ROLE(): who merely inherits a role, such as SYSADMIN, sees what everybody
-- sees. Rows go by IS_ROLE_IN_SESSION(), so that who holds two countries sees both.

{{ policy('masking policy', 'mask_token', '(val varchar) returns varchar', mask(sees_tokens),
    'Tokens of personal data: for those who join by them.') }}

{{ policy('masking policy', 'mask_ciphertext', '(val varchar) returns varchar', mask(sees_ciphertext),
    'Encrypted personal data: for those who open it, with the key.') }}

{{ policy('row access policy', 'rows_of_country', '(country varchar) returns boolean', rows_of_country(),
    'Rows of the countries whose role one holds, and of no country in particular.') }}

-- Columns get their mask from a tag; the value says what they hold, as the contract calls it.
create tag if not exists {{ retail }}.governance.pii_token
    comment = 'Keyed token of personal data.';
create tag if not exists {{ retail }}.governance.pii_ciphertext
    comment = 'Encrypted personal data.';
alter tag {{ retail }}.governance.pii_token set masking policy {{ retail }}.governance.mask_token force;
alter tag {{ retail }}.governance.pii_ciphertext set masking policy {{ retail }}.governance.mask_ciphertext force;
