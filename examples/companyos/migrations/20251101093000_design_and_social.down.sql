DROP TABLE social_posts, social_accounts, design_components, figma_files;
