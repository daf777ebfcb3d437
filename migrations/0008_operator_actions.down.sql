DROP TABLE penstock.operator_actions;
DROP FUNCTION penstock.refuse_operator_action_change();
